process kopano-ical
answers "http://localhost:$(port_of KCCONF_ICAL_ICAL_LISTEN :8080)/caldav/" 401
