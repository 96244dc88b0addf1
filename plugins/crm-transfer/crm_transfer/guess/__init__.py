"""What a file says of itself: the parts of `crm import --suggest`."""
