"""What operating systems differ in: which calls they have, and what is done where one is missing.

`capabilities` says what there is, `at` names things in an open directory, `opened` asks of an open file what not each system
tells. Nothing else in the package asks which system it runs on, or calls what not all of them have.
"""
