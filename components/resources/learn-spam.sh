# Teaches SpamAssassin what users moved into their junk folder (spam) and what they moved back (ham). kopano-spamd leaves a copy of
# each such mail and needs it no longer once it is learned.
set -u
umask 077
bayes=@STATE@/.spamassassin
install -d -m 0700 -o amavis -g amavis "$bayes"
for kind in spam ham; do
    batch=$(mktemp -d)
    find "@SPAMD@/$kind" -maxdepth 1 -name '*.eml' -exec cp -t "$batch" {} +
    chown -R amavis:amavis "$batch"
    # By the user whose filter asks: it could not read what root writes. It cannot read the copies where they are.
    if [ -n "$(ls -A "$batch")" ] && setpriv --reuid amavis --regid amavis --init-groups \
        env HOME=@STATE@ sa-learn "--$kind" --dbpath "$bayes" "$batch"; then
        find "$batch" -name '*.eml' -printf '@SPAMD@/'"$kind"'/%f\0' | xargs -0 rm -f
    fi
    rm -rf "$batch"
done
