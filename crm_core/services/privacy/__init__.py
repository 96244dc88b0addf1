"""What is known of a person, gathered by declaration across all record types, to be handed over or erased."""

from __future__ import annotations

from crm_core.services.privacy.erasing import Erasure, Kept, Receipt
from crm_core.services.privacy.service import PrivacyService

__all__ = ["Erasure", "Kept", "PrivacyService", "Receipt"]
