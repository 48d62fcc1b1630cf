"""Signs a content as the library of Standard Webhooks does, and prints the fields as JSON."""

import datetime
import json
import sys

from standardwebhooks import Webhook

settings = json.loads(sys.argv[1])
time = datetime.datetime.fromtimestamp(settings["seconds"], datetime.timezone.utc)
signature = Webhook(settings["secret"]).sign(settings["id"], time, settings["content"])
print(
    json.dumps(
        {
            "webhook-id": settings["id"],
            "webhook-timestamp": str(settings["seconds"]),
            "webhook-signature": signature,
        }
    )
)
