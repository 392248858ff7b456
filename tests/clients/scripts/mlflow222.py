"""MLflow 2.22.4, the last with `mlflow.gateway`'s clients, prints what it reads."""

import json
import sys

import mlflow.gateway as fluent
from mlflow.deployments import get_deploy_client
from mlflow.gateway import MlflowGatewayClient

URL, TEXT = sys.argv[1:3]
MESSAGES = [{"role": "user", "content": TEXT}]
client = MlflowGatewayClient(URL)
fluent.set_gateway_uri(URL)
deployments = get_deploy_client(URL)
found = {}

found["routes"] = sorted(route.name for route in client.search_routes())
found["route"] = fluent.get_route("old-chat").route_type
for name in ("old-chat", "new-chat", "split"):
    found[name] = client.query(name, {"messages": MESSAGES})
# What LangChain's `MlflowAIGateway` sends over a client of this age.
body = {"prompt": TEXT, "temperature": 0.0, "candidate_count": 1, "stop": None, "max_tokens": None}
found["candidates"] = fluent.query("old-text", body)["candidates"][0]["text"]
found["vectors"] = len(fluent.query("old-vectors", {"input": [TEXT, "b"]})["data"])
found["endpoints"] = sorted(endpoint.name for endpoint in deployments.list_endpoints())
found["predict"] = deployments.predict(endpoint="new-chat", inputs={"messages": MESSAGES})
sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
