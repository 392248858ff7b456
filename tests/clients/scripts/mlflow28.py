"""MLflow 2.8.1 and the LangChain of its day against a gateway: prints what they read."""

import json
import sys

import mlflow.gateway as fluent
from langchain.chains import LLMChain
from langchain.chat_models import ChatMLflowAIGateway
from langchain.embeddings import MlflowAIGatewayEmbeddings
from langchain.llms import MlflowAIGateway
from langchain.prompts import PromptTemplate
from langchain.schema import HumanMessage, SystemMessage
from mlflow.gateway import MlflowGatewayClient

URL, TEXT = sys.argv[1:3]
MESSAGES = [{"role": "user", "content": TEXT}]
client = MlflowGatewayClient(URL)
fluent.set_gateway_uri(URL)
found = {}

found["routes"] = sorted(route.name for route in client.search_routes())
found["fluent routes"] = len(fluent.search_routes())
route = client.get_route("old-chat")
found["route"] = [route.route_type, route.model.name, route.model.provider, route.route_url]
for name in ("old-chat", "new-chat"):
    found[name] = client.query(name, {"messages": MESSAGES, "candidate_count": 1})
found["text"] = fluent.query("old-text", {"prompt": TEXT, "max_tokens": 3})
found["vectors"] = len(fluent.query("old-vectors", {"text": [TEXT, "b"]})["embeddings"])

gone = {}
for name, ask in {
    "limits": lambda: client.get_limits("old-chat"),
    "set limits": lambda: client.set_limits("old-chat", []),
    "unknown": lambda: client.query("nobody", {"messages": MESSAGES}),
    "n": lambda: client.query("old-chat", {"messages": MESSAGES, "n": 1}),
    "missing": lambda: client.get_route("nobody"),
}.items():
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - any, to be shown
        gone[name] = str(error)
found["errors"] = gone

llm = MlflowAIGateway(gateway_uri=URL, route="old-text", params={"temperature": 0.0, "top_p": 0.1})
chain = LLMChain(llm=llm, prompt=PromptTemplate(input_variables=["q"], template="{q}"))
found["chain"] = chain.run(q=TEXT)
chat = ChatMLflowAIGateway(gateway_uri=URL, route="old-chat", params={"temperature": 0.1})
found["chat"] = chat([SystemMessage(content="短く"), HumanMessage(content=TEXT)]).content
vectors = MlflowAIGatewayEmbeddings(gateway_uri=URL, route="old-vectors")
found["query vector"] = len(vectors.embed_query(TEXT)[0])  # nested once too often, by the client
sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
