# The mail server's image runs this when it starts, before its services.
for folder in @SPAMD@ @SPAMD@/spam @SPAMD@/ham; do
    mkdir -p "$folder"
    chown @KOPANO_USER@ "$folder"
    chmod 0770 "$folder"
done
echo '@WHEN@ root /bin/bash @FOLDER@/learn-spam.sh 2>&1 | logger -t learn-spam -p mail.info' > /etc/cron.d/learn-spam
chmod 0644 /etc/cron.d/learn-spam
