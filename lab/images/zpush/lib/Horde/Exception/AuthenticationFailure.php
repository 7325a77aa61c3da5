<?php

declare(strict_types=1);

/** What the library throws when a log-in fails; the package that has it brings a whole groupware with it. */
class Horde_Exception_AuthenticationFailure extends Horde_Exception
{
}
