"""MLflow 3.17 and today's LangChain against a gateway: prints what they read."""

import json
import sys
import time

import openai
from langchain_community.chat_models import ChatMlflow
from langchain_community.embeddings import MlflowEmbeddings
from langchain_community.llms import Mlflow
from langchain_core.messages import HumanMessage, SystemMessage
from mlflow.deployments import get_deploy_client

URL, TEXT = sys.argv[1:3]
MESSAGES = [{"role": "user", "content": TEXT}]
client = get_deploy_client(URL)
found = {}

found["endpoints"] = sorted(endpoint.name for endpoint in client.list_endpoints())
endpoint = client.get_endpoint("new-chat")
found["endpoint"] = [
    endpoint.endpoint_type,
    endpoint.model.name,
    endpoint.endpoint_url,
    endpoint.limit,
]
for name in ("new-chat", "old-chat", "split"):
    found[name] = client.predict(endpoint=name, inputs={"messages": MESSAGES, "temperature": 0.0})

errors = {}
for name, ask in {
    "unknown": lambda: client.predict(endpoint="nobody", inputs={"messages": MESSAGES}),
    "not listed": lambda: client.get_endpoint("nobody"),
    "wrong": lambda: client.predict(
        endpoint="new-chat", inputs={"messages": MESSAGES, "stop": "x"}
    ),
    "keyless": lambda: client.predict(endpoint="keyless", inputs={"messages": MESSAGES}),
}.items():
    begun = time.monotonic()
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - any, to be shown
        # Asked once: this client asks 429, 500, 502 and 503 again for minutes.
        errors[name] = [str(error), time.monotonic() - begun < 30]
found["errors"] = errors

chat = ChatMlflow(target_uri=URL, endpoint="new-chat", temperature=0.0)
said = chat.invoke([SystemMessage(content="短く"), HumanMessage(content=TEXT)])
found["chat"] = said.content
found["text"] = Mlflow(target_uri=URL, endpoint="new-text", temperature=0.0).invoke(TEXT)
vectors = MlflowEmbeddings(target_uri=URL, endpoint="new-vectors")
found["vectors"] = [len(vectors.embed_query(TEXT)), len(vectors.embed_documents(["x"] * 45))]

served = openai.OpenAI(base_url=f"{URL}/gateway/mlflow/v1", api_key="any", max_retries=0)
answer = served.chat.completions.create(model="new-chat", messages=MESSAGES)
found["served"] = answer.choices[0].message.content
found["served models"] = sorted(model.id for model in served.models.list())
sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
