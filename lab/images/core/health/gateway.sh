process kopano-gateway
greets "$(port_of KCCONF_GATEWAY_IMAP_LISTEN :143)" '* OK' '' 'q LOGOUT'
greets "$(port_of KCCONF_GATEWAY_POP3_LISTEN :110)" '+OK' '' QUIT
