"""The command `crm`: what teams type. Commands are listed in `crm_core.cli.app` and imported only when they run."""
