"""Watch for the provider's notice that this machine will be taken away."""
