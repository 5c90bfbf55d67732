"""LangChain's OpenAI classes talk to a router.

python langchain_check.py URL MODEL KEY
"""

import asyncio
import json
import sys

from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

url, model, key = sys.argv[1:]
about = {"base_url": f"{url}/v1", "api_key": key, "model": model}
chat = ChatOpenAI(**about, max_tokens=4)
said = chat.invoke("hello")
print(
    json.dumps(
        {
            "chat": said.content,
            "usage": said.usage_metadata["output_tokens"],
            "stream": [one.content for one in chat.stream("hello") if one.content],
            "async": asyncio.run(chat.ainvoke("hello")).content,
            "batch": [one.content for one in chat.batch(["one", "two"])],
            "text": OpenAI(**about, max_tokens=4).invoke("hello"),
            "embeddings": OpenAIEmbeddings(**about, check_embedding_ctx_length=False).embed_documents(["one", "three"]),
        }
    )
)
