"""Sockets: their protocol, the consumer that speaks it, and the hub that hears for all of them."""
