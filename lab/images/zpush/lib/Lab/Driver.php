<?php

declare(strict_types=1);

/** What the library asks of a mail system, answered by the Kopano lab: passwords and sending by the server, mail by IMAP. */
class Lab_Driver extends Horde_ActiveSync_Driver_Base
{
    private const TYPES = [
        'sent' => Horde_ActiveSync::FOLDER_TYPE_SENTMAIL,
        'trash' => Horde_ActiveSync::FOLDER_TYPE_WASTEBASKET,
        'drafts' => Horde_ActiveSync::FOLDER_TYPE_DRAFTS,
    ];

    private Lab_Server $server;
    private Horde_ActiveSync_Imap_Adapter $imap;
    private Lab_Mailboxes $mailboxes;
    /** @var Horde_ActiveSync_Message_Folder[]|null */
    private ?array $folders = null;

    public function __construct($params = [])
    {
        parent::__construct($params);
        $this->server = new Lab_Server();
    }

    // Who is asking

    /** A log-in name is the part before the @ of somebody's address. */
    public function getUsernameFromEmail($email)
    {
        return str_contains($email, '@') ? strstr($email, '@', true) : $email;
    }

    public function authenticate($username, $password, $domain = null)
    {
        try {
            $name = $this->server->logOn((string) $username, (string) $password);
        } catch (Lab_Refused) {
            return false;
        }
        parent::authenticate($name, $password, $domain);
        $this->mailboxes = new Lab_Mailboxes($name, (string) $password);
        $this->imap = new Horde_ActiveSync_Imap_Adapter(['factory' => $this->mailboxes]);
        $this->imap->setLogger($this->_logger);
        return true;
    }

    public function setup($user)
    {
        return parent::setup($this->_authUser);
    }

    public function clearAuthentication()
    {
        $this->server->logOff();
        return true;
    }

    public function getProvisioning()
    {
        return Horde_ActiveSync::PROVISIONING_NONE;
    }

    public function getCurrentPolicy()
    {
        return [];
    }

    public function getHeartbeatConfig()
    {
        return [
            'heartbeatmin' => 60, 'heartbeatmax' => 3480, 'heartbeatdefault' => 480, 'waitinterval' => 10, 'deviceping' => true,
        ];
    }

    public function autoDiscover($params = [])
    {
        $known = $this->server->call('user.details', ['user' => $this->_authUser]);
        $text = fn (string $value): string => htmlspecialchars($value, ENT_XML1 | ENT_QUOTES);
        return $params + [
            'culture' => 'en:us',
            'display_name' => $text($known['fullname']),
            'email' => $text($known['email']),
            'username' => $text($this->_authUser),
            'url' => 'https://' . $text($_SERVER['HTTP_HOST'] ?? '') . '/Microsoft-Server-ActiveSync',
        ];
    }

    // Folders

    public function getFolders()
    {
        if ($this->folders === null) {
            $all = $this->mailboxes->getMailboxes();
            // Those above come first, so that a folder is never named before the one that it is in.
            uasort($all, fn (array $one, array $other): int => $one['level'] <=> $other['level']);
            $this->folders = array_map(fn ($name) => $this->folder((string) $name, $all), array_keys($all));
        }
        return $this->folders;
    }

    private function folder(string $name, array $all): Horde_ActiveSync_Message_Folder
    {
        $known = $all[$name];
        $type = Horde_ActiveSync::FOLDER_TYPE_USER_MAIL;
        if (strcasecmp($name, 'INBOX') === 0) {
            $type = Horde_ActiveSync::FOLDER_TYPE_INBOX;
        } elseif ($name === 'Outbox') {
            $type = Horde_ActiveSync::FOLDER_TYPE_OUTBOX;
        }
        foreach ($this->mailboxes->getSpecialMailboxes() as $use => $mailbox) {
            $type = $mailbox?->value === $name && isset(self::TYPES[$use]) ? self::TYPES[$use] : $type;
        }
        $above = $known['level'] ? substr($name, 0, (int) strrpos($name, $known['d'])) : '';
        $folder = new Horde_ActiveSync_Message_Folder();
        $folder->_serverid = $name;
        $folder->serverid = $this->_getFolderUidForBackendId($name, $type);
        $folder->parentid = isset($all[$above]) ? $this->_getFolderUidForBackendId($above, $type) : '0';
        $folder->_parentid = isset($all[$above]) ? $above : '0';
        $folder->displayname = isset($all[$above]) ? $known['label'] : $name;
        $folder->type = $type;
        return $folder;
    }

    public function getFolder($id)
    {
        foreach ($this->getFolders() as $folder) {
            if ($folder->_serverid === $id) {
                return $folder;
            }
        }
        throw new Horde_ActiveSync_Exception("There is no folder '$id'.");
    }

    public function getFolderList()
    {
        return array_map(
            fn ($folder) => $this->statFolder($folder->serverid, $folder->parentid, $folder->displayname, $folder->_serverid),
            $this->getFolders()
        );
    }

    public function statFolder($id, $parent = 0, $mod = null, $serverid = null)
    {
        return ['id' => $id, 'mod' => $mod ?: $id, 'parent' => $parent, 'serverid' => $serverid ?: $id];
    }

    public function changeFolder($id, $displayname, $parent, $uid = null, $type = null)
    {
        $name = $id ? $this->imap->renameMailbox($id, $displayname, $parent) : $this->imap->createMailbox($displayname, $parent);
        if ($id) {
            $this->_getFolderUidForBackendId($name, Horde_ActiveSync::FOLDER_TYPE_USER_MAIL, $id);
        }
        $this->folders = null;
        $this->mailboxes->getMailboxes(true);
        return $this->getFolder($name);
    }

    public function deleteFolder($id, $parent = Horde_ActiveSync::FOLDER_ROOT)
    {
        if ($this->_isSpecialMailbox($id)) {
            throw new Horde_ActiveSync_Exception_DeletionNotSupported("'$id' is a folder that every mailbox has.");
        }
        $this->imap->deleteMailbox($id);
        $this->folders = null;
    }

    public function getSpecialFolderNameByType($type)
    {
        return $type === 'inbox' ? 'INBOX' : $this->mailboxes->getSpecialMailboxes()[$type]?->value ?? false;
    }

    public function getWasteBasket($class)
    {
        $name = $class === Horde_ActiveSync::CLASS_EMAIL ? $this->getSpecialFolderNameByType('trash') : false;
        return $name ? $this->getFolder($name)->serverid : false;
    }

    // Mails

    public function getServerChanges(
        $folder, $from_ts, $to_ts, $cutoffdate, $ping, $ignoreFirstSync = false, $maxitems = 100, $refreshFilter = false
    ) {
        if ($ping) {
            return $this->imap->ping($folder) ? [['id' => 1, 'type' => Horde_ActiveSync::CHANGE_TYPE_CHANGE]] : [];
        }
        $this->imap->getMessageChanges($folder, [
            'sincedate' => (int) $cutoffdate, 'protocolversion' => $this->_version, 'softdelete' => false,
            'refreshfilter' => $refreshFilter,
        ]);
        if (!$folder->haveInitialSync) {
            return $folder->added();
        }
        $flags = $folder->flags();
        $categories = $folder->categories();
        return array_merge(
            array_map(fn ($uid) => [
                'id' => $uid, 'type' => Horde_ActiveSync::CHANGE_TYPE_CHANGE, 'flags' => Horde_ActiveSync::FLAG_NEWMESSAGE,
            ], $folder->added()),
            array_map(fn ($uid) => [
                'id' => $uid, 'type' => Horde_ActiveSync::CHANGE_TYPE_FLAGS, 'flags' => $flags[$uid],
                'categories' => $categories[$uid] ?? [],
            ], $folder->changed()),
            array_map(fn ($uid) => ['id' => $uid, 'type' => Horde_ActiveSync::CHANGE_TYPE_DELETE], $folder->removed())
        );
    }

    public function getMessage($folderid, $id, array $collection)
    {
        $options = $collection + ['protocolversion' => $this->_version];
        $found = $this->imap->getMessages($folderid, [$id], $options);
        return reset($found) ?: throw new Horde_Exception_NotFound("There is no mail $id in '$folderid'.");
    }

    public function statMessage($folderId, $id)
    {
        return $this->statMailMessage($folderId, $id);
    }

    public function statMailMessage($folderid, $id)
    {
        return ['id' => $id, 'mod' => 0, 'flags' => false];
    }

    public function changeMessage($folderid, $id, Horde_ActiveSync_Message_Base $message, $device)
    {
        if (!$message instanceof Horde_ActiveSync_Message_Mail || !$id) {
            return false;
        }
        $stat = ['id' => $id, 'mod' => 0, 'flags' => [], 'categories' => false];
        if ($message->read !== '') {
            $this->setReadFlag($folderid, $id, $message->read);
            $stat['flags']['read'] = $message->read;
        }
        if ($message->propertyExists('flag')) {
            $message->flag = $message->flag ?: Horde_ActiveSync::messageFactory('Flag');
            $this->imap->setMessageFlag($folderid, $id, $message->flag);
            $stat['flags']['flagged'] = $message->flag->flagstatus;
        }
        return $stat;
    }

    public function setReadFlag($folderid, $uid, $flag)
    {
        $this->imap->setReadFlag($folderid, $uid, $flag);
    }

    public function deleteMessage($folderid, array $ids)
    {
        return $this->imap->deleteMessages($ids, $folderid);
    }

    public function moveMessage($folderid, array $ids, $newfolderid)
    {
        return $this->imap->moveMessage($folderid, $ids, $newfolderid);
    }

    /** Into the user's Outbox, from where the spooler sends it and keeps the copy. */
    public function sendMail($rfc822, $forward = null, $reply = null, $parent = null, $save = true, $message = null)
    {
        if ($forward || $reply) {
            throw new Horde_ActiveSync_Exception_EmailFatalFailure('The lab sends no mail that the server has to complete.');
        }
        $mail = $message ? $message->mime : $rfc822;
        $text = is_resource($mail) ? (string) stream_get_contents($mail, -1, 0) : (string) $mail;
        [$head, $body] = preg_split('/\r?\n\r?\n/', $text, 2) + [1 => ''];
        $headers = Horde_Mime_Headers::parseHeaders($head);
        $list = new Horde_Mail_Rfc822_List();
        foreach (['To', 'Cc', 'Bcc'] as $name) {
            $list->add($headers->getValue($name) ?: '');
        }
        $headers->removeHeader('Bcc');
        $list->unique();
        if (!$list->bare_addresses) {
            throw new Horde_ActiveSync_Exception_EmailFatalFailure('The mail has no recipient.');
        }
        $head = $headers->toString(['canonical' => true, 'charset' => 'UTF-8', 'nowrap' => true]);
        try {
            $this->server->call('message.submit', ['recipients' => $list->bare_addresses], $head . $body);
        } catch (Lab_Refused | Lab_Unavailable $problem) {
            throw new Horde_ActiveSync_Exception($problem->getMessage());
        }
        return true;
    }

    public function getAttachment($name, array $options = [])
    {
        [$mailbox, $uid, $part] = explode(':', $name);
        $found = $this->imap->getAttachment($mailbox, $uid, $part);
        return ['content-type' => $found->getType(), 'data' => $found->getContents(['stream' => !empty($options['stream'])])];
    }

    public function itemOperationsGetAttachmentData($filereference)
    {
        $found = $this->getAttachment($filereference);
        $answer = Horde_ActiveSync::messageFactory('AirSyncBaseFileAttachment');
        $answer->contenttype = $found['content-type'];
        $answer->data = $found['data'];
        return $answer;
    }

    // The address book, as z-push-gabsync has left it

    public function getSearchResults($type, array $query)
    {
        if (strtolower($type) !== 'gal') {
            return ['rows' => [], 'status' => Horde_ActiveSync_Request_Search::STORE_STATUS_SUCCESS, 'total' => 0];
        }
        $rows = array_map(fn (array $person) => [
            Horde_ActiveSync::GAL_ALIAS => $person['name'],
            Horde_ActiveSync::GAL_DISPLAYNAME => $person['fullname'],
            Horde_ActiveSync::GAL_EMAILADDRESS => $person['email'],
        ], $this->people($query['query']));
        return ['rows' => $rows, 'status' => Horde_ActiveSync_Request_Search::STORE_STATUS_SUCCESS, 'total' => count($rows)];
    }

    public function resolveRecipient($type, $search, array $options = [])
    {
        return array_map(fn (array $person) => [
            'type' => Horde_ActiveSync::RESOLVE_RESULT_GAL,
            'displayname' => $person['fullname'],
            'emailaddress' => $person['email'],
        ], $this->people($search));
    }

    private function people(string $wanted): array
    {
        $like = '%' . addcslashes($wanted, '%_\\') . '%';
        return database()->selectAll(
            "SELECT name, fullname, email FROM lab_gab WHERE name LIKE ? ESCAPE '\\' OR fullname LIKE ? ESCAPE '\\'"
            . " OR email LIKE ? ESCAPE '\\' ORDER BY fullname LIMIT 100",
            [$like, $like, $like]
        );
    }

    // What the lab does not have

    public function getSettings(array $settings, $device)
    {
        $status = Horde_ActiveSync_Request_Settings::STATUS_SUCCESS;
        $email = $this->server->call('user.details', ['user' => $this->_authUser])['email'];
        $all = [
            'oof' => ['status' => $status, 'oofstate' => Horde_ActiveSync_Request_Settings::OOF_STATE_DISABLED, 'oofmsgs' => []],
            'userinformation' => ['status' => $status, 'emailaddresses' => [$email], 'primarysmtpaddress' => $email],
        ];
        return array_intersect_key($all, $settings);
    }

    public function setSettings(array $settings, $device)
    {
        $status = ['devicepassword' => 2, 'oof' => 2, 'deviceinformation' => Horde_ActiveSync_Request_Settings::STATUS_SUCCESS];
        return array_intersect_key($status, $settings);
    }

    public function itemOperationsFetchMailbox($longid, array $bodyprefs, $mimesupport)
    {
        throw new Horde_ActiveSync_Exception('Mails are not searched here, so no search result can be fetched.');
    }

    public function itemOperationsGetDocumentLibraryLink($linkid, $cred)
    {
        throw new Horde_ActiveSync_Exception('There is no document library here.');
    }

    public function meetingResponse(array $response)
    {
        throw new Horde_ActiveSync_Exception('Meetings are answered over CalDAV here.');
    }

    public function getFreebusy($user, array $options = [])
    {
        return false;
    }
}
