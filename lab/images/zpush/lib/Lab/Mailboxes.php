<?php

declare(strict_types=1);

/** The user's mailboxes at the gateway, in the form that the library's adapter asks for. */
class Lab_Mailboxes implements Horde_ActiveSync_Interface_ImapFactory
{
    /** Uses that IMAP knows, and the library's names for them. */
    private const USES = ['\\sent' => 'sent', '\\trash' => 'trash', '\\drafts' => 'drafts', '\\junk' => 'spam'];

    private ?Horde_Imap_Client_Socket $client = null;
    private ?array $listed = null;

    public function __construct(private string $user, private string $password)
    {
    }

    public function getImapOb()
    {
        if (!$this->client) {
            [$host, $port] = explode(':', getenv('ZPUSH_IMAP_HOST'));
            $this->client = new Horde_Imap_Client_Socket([
                'username' => $this->user, 'password' => $this->password, 'hostspec' => $host, 'port' => (int) $port,
                'secure' => false, 'timeout' => 30,
            ]);
        }
        return $this->client;
    }

    public function getMailboxes($force = false)
    {
        if ($this->listed === null || $force) {
            $this->listed = [];
            $options = ['attributes' => true, 'delimiter' => true, 'special_use' => true];
            foreach ($this->getImapOb()->listMailboxes('*', Horde_Imap_Client::MBOX_ALL, $options) as $name => $known) {
                $attributes = array_map('strtolower', $known['attributes']);
                if (array_intersect(['\\noselect', '\\nonexistent'], $attributes)) {
                    continue;
                }
                $delimiter = $known['delimiter'];
                $parts = $delimiter === '' ? [(string) $name] : explode($delimiter, (string) $name);
                $this->listed[(string) $name] = [
                    'a' => $attributes, 'd' => $delimiter, 'label' => end($parts), 'level' => count($parts) - 1,
                ];
            }
        }
        return $this->listed;
    }

    public function getSpecialMailboxes()
    {
        $found = array_fill_keys(array_values(self::USES), null);
        foreach ($this->getMailboxes() as $name => $known) {
            foreach (array_intersect_key(self::USES, array_flip($known['a'])) as $use) {
                $found[$use] ??= (object) ['value' => $name];
            }
        }
        return $found;
    }
}
