"""What an attacker may want of a model, one module a goal; each is measured by the attacks of its folder."""
