"""A page that shows a cache: what fills it, how that went, how it was verified, who goes next; pure: facts in, HTML out.

`facts` says what is known, `page` narrates what is shown. One file: no script, no picture and no font from elsewhere, so it
can be mailed, kept, and served under the strictest policy. Whatever comes from the cache passes `markup.text`.
"""

from .facts import Event, Facts, File, Verified
from .history import Moment, history
from .page import page

__all__ = ["Event", "Facts", "File", "Moment", "Verified", "history", "page"]
