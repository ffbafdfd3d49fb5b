"""The client of the KServe SDK: the whole life of an InferenceService."""

import json
import sys
import threading
import time
import warnings
from typing import Any

warnings.simplefilter("ignore")

from kserve import (  # noqa: E402 - its own dependencies warn
    KServeClient,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
)
from kubernetes import client, config  # noqa: E402

NAMESPACE = sys.argv[1]
API = ("serving.kserve.io", "v1beta1", NAMESPACE, "inferenceservices")


def service(uri: str, **more: Any) -> V1beta1InferenceService:
    model = V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="onnx"), storage_uri=uri)
    return V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(name="fraud", namespace=NAMESPACE, **more),
        spec=V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(model=model)),
    )


def uri(found: Any) -> str:
    return found["spec"]["predictor"]["model"]["storageUri"]


def become_ready(custom: client.CustomObjectsApi) -> None:
    """What a controller would do."""
    time.sleep(0.5)
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"status": {"url": "http://fraud.example", "conditions": conditions}}
    patch = custom.patch_namespaced_custom_object_status
    try:
        patch(*API, "fraud", status)
    except client.ApiException:  # the definition has no such subresource
        custom.patch_namespaced_custom_object(*API, "fraud", status)


config.load_kube_config()
kserve, custom, said = KServeClient(), client.CustomObjectsApi(), {}
said["created"] = uri(kserve.create(service("oci://a/b:1")))
try:
    kserve.create(service("oci://a/b:1"))
except RuntimeError as error:
    said["again"] = "AlreadyExists" in str(error)
said["got"] = uri(kserve.get("fraud", namespace=NAMESPACE))
said["listed"] = len(kserve.get(namespace=NAMESPACE)["items"])
said["patched"] = uri(kserve.patch("fraud", service("oci://a/b:2"), namespace=NAMESPACE))
said["ready before"] = kserve.is_isvc_ready("fraud", namespace=NAMESPACE)
threading.Thread(target=become_ready, args=(custom,)).start()
kserve.wait_isvc_ready("fraud", namespace=NAMESPACE, timeout_seconds=30, polling_interval=1)
said["ready"] = kserve.is_isvc_ready("fraud", namespace=NAMESPACE)
replaced = kserve.replace("fraud", service("oci://a/b:3", labels={"a": "b"}), namespace=NAMESPACE)
said["replaced"] = [uri(replaced), replaced["metadata"]["labels"]]
said["url"] = kserve.get("fraud", namespace=NAMESPACE)["status"]["url"]
kserve.delete("fraud", namespace=NAMESPACE)
try:
    kserve.get("fraud", namespace=NAMESPACE)
except RuntimeError as error:
    said["gone"] = "NotFound" in str(error)
sys.stdout.write(json.dumps(said))
