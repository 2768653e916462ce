"""`make demo`: the main job on real input, from an empty folder to the history, in the terminal.

It types what a person would type: `daybook up` in a folder of its own (`.daybook-demo`), then commands, each shown before
it runs. Nothing is staged: these are the real servers, the real command line, and two real texts. Where no language model
is given (`endpoints.py`), a small summariser that picks sentences stands in for one, and says so.

Refuses to leave anything running, and to end with 0 when anything went wrong. It is no part of what is installed.
"""
