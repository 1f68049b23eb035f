"""OpenShift and Kubernetes through oc or kubectl."""
