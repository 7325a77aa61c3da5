process kopano-search
file /run/kopano/search.sock socket 666
answers http://localhost/ 405 --unix-socket /run/kopano/search.sock
