"""Watching: the log's tail in this process (`hub`), and the stream of one task that all who watch it share.

    stream     one client's stream, as server-sent events (`sse`)
    told       what it has been told, and what comes next
    channel    what all who watch one task share: facts, snapshot, wake-up; `channels` opens and closes them
    words      what attempts say: a ring of the latest, and `stores` and `live` for what was said before; `memory` bounds it
    said       the same words, page by page, for whoever does not watch

Nobody is waited for: a client that does not read is cut off and resumes. See docs/explanation/watching.md.
"""
