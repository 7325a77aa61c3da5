-- Runs at each start of the database, which itself sets passwords in an empty data folder only. While it fills that, it logs in
-- as a root without a password to a server that runs this too: the database is what it makes after that.
-- A line that ends with a semicolon ends the statement.
BEGIN NOT ATOMIC IF EXISTS (SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '@DATABASE@') THEN
  CREATE USER IF NOT EXISTS '@ACCOUNT@'@'%' IDENTIFIED BY '@PASSWORD@'
; ALTER USER '@ACCOUNT@'@'%' IDENTIFIED BY '@PASSWORD@'
; GRANT ALL ON `@PATTERN@`.* TO '@ACCOUNT@'@'%'
; ALTER USER IF EXISTS 'root'@'localhost' IDENTIFIED BY '@ROOT_PASSWORD@'
; ALTER USER IF EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '@ROOT_PASSWORD@'
; ALTER USER IF EXISTS 'root'@'::1' IDENTIFIED BY '@ROOT_PASSWORD@'
; ALTER USER IF EXISTS 'root'@'%' IDENTIFIED BY '@ROOT_PASSWORD@'
; END IF; END;
