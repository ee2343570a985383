"""The command line of `stream-scorer`: its commands, flags and help, without the commands' code."""
