"""Who is calling, for which organisation, and which models that organisation may use."""
