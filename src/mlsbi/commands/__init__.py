"""The commands of `mlsbi` that work on a study: each parses options, calls `Study`, and prints.

`_options` has the options that they share, `_session` what happens around each (errors without
tracebacks, exit codes, one document on stdout), `_steps` the steps with their live view, `_words`
what they say. `mlsbi.cli` puts them together.
"""
