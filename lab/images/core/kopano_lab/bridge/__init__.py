"""A way for webmail that only speaks SMTP: what it sends goes into the user's Outbox, and the spooler sends it.

It belongs into the container of the webmail and listens there on the loopback address alone. It needs `client`, `wire`, `errors`
and aiosmtpd, and nothing else of this package:

    python3 -m kopano_lab.bridge --listen 127.0.0.1:2525 --server http://kopano_server:236/
"""
