"""The feed: everything that a caller may see, in one order, from any place in it.

tail       follows the log, once for all who read the feed here, and keeps what it has just told
facts      what is told of an event, and whose it is; encoded once
filter     what one reader wants and may see
cursor     how a place in the log is spelled
stream     one reader's way from the past into what comes, as events or as pages
"""
