"""A simulator of KEDA and the Horizontal Pod Autoscaler."""
