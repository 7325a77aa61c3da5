<?php

declare(strict_types=1);

/** The server or the gateway does not answer: nobody's password is wrong. */
class Lab_Unavailable extends Exception
{
}
