"""Files of a Hugging Face cache become files of this one: `foreign` says what is there, `taking` narrates the run."""
