process kopano-server
file /kopano/data/attachments directory 755
file /run/kopano/server.sock socket 666
file /run/kopano/prio.sock socket 660
answers http://localhost:236/ 405
answers https://localhost:237/ 405
