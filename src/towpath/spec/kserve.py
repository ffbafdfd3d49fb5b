"""KServe: the InferenceService as far as the road uses it (serving.kserve.io/v1beta1)."""

from typing import Final

from towpath.spec.kube import Kind

SPEC_VERSION: Final = "0.15"

INFERENCE_SERVICE: Final = Kind(
    "serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices"
)
SERVING_RUNTIME: Final = Kind("serving.kserve.io", "v1alpha1", "ServingRuntime", "servingruntimes")
CLUSTER_SERVING_RUNTIME: Final = Kind(
    "serving.kserve.io", "v1alpha1", "ClusterServingRuntime", "clusterservingruntimes", False
)

DEPLOYMENT_MODE: Final = "serving.kserve.io/deploymentMode"
MODELS_DIR: Final = "models"
"""Folder of a modelcar image under which the model's files lie."""
