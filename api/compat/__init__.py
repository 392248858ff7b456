"""Other people's surfaces, served by the gateway's own routes behind our guard."""
