"""Measurements on a real cluster, whichever KUBECONFIG names."""
