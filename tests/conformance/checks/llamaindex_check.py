"""LlamaIndex's classes for OpenAI's API talk to a router.

python llamaindex_check.py URL MODEL KEY
"""

import asyncio
import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

url, model, key = sys.argv[1:]
about = {"api_base": f"{url}/v1", "api_key": key}
chat = OpenAILike(**about, model=model, is_chat_model=True, max_tokens=4, context_window=256)
text = OpenAILike(**about, model=model, is_chat_model=False, max_tokens=4, context_window=256)
messages = [ChatMessage(role="user", content="hello")]
embedding = OpenAILikeEmbedding(**about, model_name=model)
print(
    json.dumps(
        {
            "chat": chat.chat(messages).message.content,
            "stream": [one.delta for one in chat.stream_chat(messages) if one.delta],
            "async": asyncio.run(chat.achat(messages)).message.content,
            "text": text.complete("hello").text,
            "embeddings": embedding.get_text_embedding_batch(["one", "three"]),
        }
    )
)
