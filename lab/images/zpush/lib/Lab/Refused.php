<?php

declare(strict_types=1);

/** The server says no. */
class Lab_Refused extends Exception
{
}
