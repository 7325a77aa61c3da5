#!/bin/bash
# Copies the data of a running stack into one archive. The steps of `scripts/backup` and of the scheduled job, in this order:
#
#   collect    mail queue, database, then all volumes: in the database's image
#   directory  the directory as LDIF: in the directory's image
#   archive    puts the archive into the folder of archives and removes the oldest: in the database's image
#   stream     in place of archive: takes a tar of further members on standard input, writes the archive to standard output
#
# and for the container in which the jobs run: wait, healthy. Needs no more than bash, GNU tar, gzip, sha256sum, flock, and
# mysqldump or slapcat. The volumes to copy are those that are mounted below /volumes.
#
# The order is what keeps mail: a mail is in the queue until it is in the database, and an attachment is a file before a row
# names it. So the queue comes before the database, and again after it (what users sent leaves the database for the queue); a
# mail that was on its way may come twice, but none is missing. The directory comes last, so that it has every user of the
# database.
set -euo pipefail
umask 077
export LC_ALL=C
shopt -s nullglob

BACKUPS=${BACKUPS:-/backups}
VOLUMES=${VOLUMES:-/volumes}
STARTED=${STARTED:-/tmp/started}
WORK=$BACKUPS/.work
STAMP='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z'

say() { echo "backup: $*" >&2; }
fail() { say "$*"; exit 1; }

# What is half done is removed; complete archives stay.
clean() {
    code=$?
    [ "$code" = 0 ] || rm -rf "$WORK" "$BACKUPS/.${BACKUP_NAME-}"-*.part
}

# One step at a time, whoever runs it.
alone() {
    exec 9> "$BACKUPS/.lock" || fail "the folder of archives cannot be written"
    flock -n 9 || { trap - EXIT; fail "another backup of this stack is running"; }
}

# volume FOLDER FILE [OPTION...]: a volume as a tar. Files that change or go while they are read (1) are no failure.
volume() {
    local folder=$1 file=$2 code=0 paths=(.)
    shift 2
    # The queue twice: a mail that moves from one of its folders to another may be missed once.
    for queue in "$folder"/*postfix*; do paths+=("./${queue##*/}"); done
    tar --create --use-compress-program='gzip -1' --numeric-owner --warning=no-file-ignored \
        --file="$file" --directory="$folder" "$@" "${paths[@]}" || code=$?
    [ "$code" -le 1 ] || fail "$folder could not be copied"
}

queue() {
    local paths=()
    for queue in "$VOLUMES"/mailstate/*postfix*; do paths+=("${queue##*/}"); done
    [ "${#paths[@]}" -gt 0 ] || return 0
    say "the mail queue"
    local code=0
    tar --create --use-compress-program='gzip -1' --numeric-owner --warning=no-file-ignored \
        --file="$WORK/mail-queue.tar.gz" --directory="$VOLUMES/mailstate" "${paths[@]}" "${paths[@]}" || code=$?
    [ "$code" -le 1 ] || fail "the mail queue could not be copied"
}

# The password reaches the client as a variable. Binary columns in hexadecimal: no client takes them for text.
database() {
    [ -n "${MYSQL_HOST-}" ] || return 0
    say "the database"
    MYSQL_PWD=$MYSQL_PASSWORD mysqldump --host="$MYSQL_HOST" --port="${MYSQL_PORT:-3306}" --user="$MYSQL_USER" \
        --single-transaction --quick --routines --triggers --hex-blob --no-tablespaces --max-allowed-packet=1G \
        --default-character-set=utf8mb4 "$MYSQL_DATABASE" | gzip -1 > "$WORK/database.sql.gz" \
        || fail "the database could not be copied"
}

collect() {
    alone
    rm -rf "$WORK" "$BACKUPS/.$BACKUP_NAME"-*.part
    mkdir "$WORK"
    date -u +%Y-%m-%dT%H:%M:%SZ > "$WORK/.time"
    queue
    database
    for folder in "$VOLUMES"/*/; do
        name=$(basename "$folder")
        say "volume $name"
        case $name in
            # The search index is made anew from the mailboxes; a copy of one that is in use may be of no use.
            kopanodata) volume "$folder" "$WORK/volume-$name.tar.gz" --exclude=./search ;;
            *) volume "$folder" "$WORK/volume-$name.tar.gz" ;;
        esac
    done
}

# The directory's own readers are told apart by the numbers of their processes, which may be the same in two containers: then
# the second one is refused, and has another number when it tries again.
ldif() {
    for try in 1 2 3 4 5; do
        if slapcat -F /etc/ldap/slapd.d -n "$1" 2> /tmp/slapcat.log | gzip -1 > "$2" && [ "$(gzip -dc "$2" | head -c 1)" ]; then
            return
        fi
        sleep "0.$try"
    done
    cat /tmp/slapcat.log >&2
    fail "the directory could not be copied"
}

directory() {
    alone
    [ -d "$WORK" ] || fail "nothing is collected yet"
    say "the directory"
    ldif 0 "$WORK/directory-config.ldif.gz"
    ldif 1 "$WORK/directory.ldif.gz"
    # What the image keeps beside the configuration, such as what its first start was told.
    volume /etc/ldap/slapd.d "$WORK/directory-files.tar.gz" '--exclude=./cn=config*'
}

# The archive on standard output: the manifest and a hash of it, then what it lists. Each file goes as soon as it is packed.
pack() {
    [ -f "$WORK/.time" ] || fail "nothing is collected yet"
    [ -z "${MYSQL_HOST-}" ] || [ -s "$WORK/database.sql.gz" ] || fail "the database is missing"
    [ "${BACKUP_DIRECTORY-}" != yes ] || [ -s "$WORK/directory.ldif.gz" ] || fail "the directory is missing"
    cd "$WORK"
    local names=(*) members='' name hash
    for name in "${names[@]}"; do
        hash=$(sha256sum < "$name")
        members+="${members:+,}\"$name\":{\"size\":$(stat -c %s "$name"),\"sha256\":\"${hash%% *}\"}"
    done
    # BACKUP_ABOUT is a JSON object; what is found out here joins it.
    printf '{"format":1,"time":"%s",%s,"members":{%s}}\n' "$(< .time)" "${BACKUP_ABOUT:1:-1}" "$members" > manifest.json
    sha256sum manifest.json > manifest.sha256
    tar --create --format=gnu --owner=0 --group=0 --numeric-owner --mode=0600 --remove-files \
        manifest.json manifest.sha256 "${names[@]}"
    cd /
    rm -rf "$WORK"
}

# Only names that an archive of this stack's schedule has; they sort by their time.
retain() {
    local archives=("$BACKUPS/$BACKUP_NAME"-$STAMP.tar)
    local surplus=$((${#archives[@]} - BACKUP_KEEP))
    [ "$surplus" -le 0 ] || rm -f -- "${archives[@]:0:surplus}"
}

archive() {
    alone
    [ -f "$WORK/.time" ] || fail "nothing is collected yet"
    local name
    name=$BACKUP_NAME-$(tr -d ':-' < "$WORK/.time").tar
    pack > "$BACKUPS/.$name.part"
    sync "$BACKUPS/.$name.part"
    mv "$BACKUPS/.$name.part" "$BACKUPS/$name"
    sync "$BACKUPS"
    retain
    say "$name is complete"
}

stream() {
    alone
    tar --extract --file=- --directory="$WORK" --no-same-owner
    pack
}

# The main process of the jobs' container.
stay() {
    : > "$STARTED"
    trap 'exit 0' TERM INT
    while :; do
        sleep 600 &
        wait $!
        (healthy) || true
    done
}

# A young archive is there, or none can be expected yet.
healthy() {
    [ -w "$BACKUPS" ] || fail "the folder of archives cannot be written"
    [ -f "$STARTED" ] || fail "starting"
    [ -n "${BACKUP_MAX_AGE-}" ] || return 0
    [ -n "$(find "$STARTED" -mmin "-$BACKUP_MAX_AGE")" ] \
        || [ -n "$(find "$BACKUPS" -maxdepth 1 -name "$BACKUP_NAME-$STAMP.tar" -mmin "-$BACKUP_MAX_AGE" -print -quit)" ] \
        || fail "there is no archive of the last $BACKUP_MAX_AGE minutes: see the scheduler's log"
}

case ${1-} in
    collect | directory | archive | stream)
        trap clean EXIT
        "$1"
        ;;
    healthy) healthy ;;
    wait) stay ;;
    *) fail "name one step: collect, directory, archive, stream, healthy or wait" ;;
esac
