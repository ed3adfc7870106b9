"""Pushes: hints to the hubs of this process and, through the channel layer, to those of all others."""
