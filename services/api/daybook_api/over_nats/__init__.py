"""Requests over NATS: each is handed to the routes of HTTP within this process, so both doors lead into one house.

verbs        which request is which operation of HTTP
service      the micro-service that the verbs are discovered by
gateway      takes requests, carries them out beside each other, and replies
in_process   a request to the application without a socket
"""
