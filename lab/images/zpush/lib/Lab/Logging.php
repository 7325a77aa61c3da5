<?php

declare(strict_types=1);

/** Gives the library its log. */
class Lab_Logging implements Horde_ActiveSync_Interface_LoggerFactory
{
    public function create($properties = [])
    {
        return logger();
    }
}
