"""Images: the one of all services, and stand-ins for upstream's where no registry answers."""
