"""What a CRM offers on its records, side by side: no service imports another; they meet in the unit of work."""
