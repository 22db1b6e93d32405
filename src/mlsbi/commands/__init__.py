"""The commands of `mlsbi`: each parses options, calls the library, and prints.

Most call `mlsbi.Study`. `_options` has the options that these share, `_session` what happens around
each (errors without tracebacks, exit codes, one document on stdout), `_steps` the steps with their
live view, `_words` what they say. `mlsbi.cli` puts them together.
"""
