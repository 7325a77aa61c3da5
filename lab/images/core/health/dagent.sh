process kopano-dagent
greets "$(port_of KCCONF_DAGENT_LMTP_LISTEN :2003)" 250 'LHLO localhost' QUIT
