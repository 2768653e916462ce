"""/asyncapi.json: what is said on NATS, for machines (AsyncAPI 3.0). Facts come from the registry of events, requests from the
table of verbs, and schemas from the very structs that are encoded and decoded: nothing is written down a second time.

    document    puts the parts together, and answers
    facts       a message for each kind of event, as a CloudEvent
    others      what attempts say, doorbells, pokes, words to runners
    verbs       what can be asked for, and what is answered
    examples    one of each fact
    parts       the pieces that all of them are made of

It promises no more than is true of every message (`tests/bus/test_messages_described.py` holds it against them), and names
no server: where NATS is, and with which credentials, is for whoever runs it to say.
"""
