"""Sockets: their protocol, the consumer that speaks it, and the hub that listens for all of them."""
