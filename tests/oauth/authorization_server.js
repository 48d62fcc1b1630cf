// An OAuth 2.0 authorization server (oidc-provider, certified by the OpenID Foundation), a resource
// server that introspects what it is shown, and a control port for the tests, all on ports of their own.
//
//   node authorization_server.js SETTINGS
//
// SETTINGS is JSON, all of it optional: `clients` (registration metadata, RFC 7591; `key_algorithm`
// asks for a key pair), `ttl` (seconds by kind of token), `scopes`, `resources`, `pkce_required`,
// `rotate`, `refusal` (how the resource server refuses: `status`, `fields`, `body`).
// One line of JSON on standard output says that it is ready and where.

import http from 'node:http';

import { Control } from './control.js';
import { registerKeys } from './keys.js';
import { createProvider } from './provider.js';
import { ResourceServer } from './resource_server.js';
import { TokenEndpoint } from './token_endpoint.js';

const settings = JSON.parse(process.argv[2] ?? '{}');
const starter = process.ppid;
// Whoever was killed without a chance to stop us leaves nothing behind.
setInterval(() => process.ppid !== starter && process.exit(), 1000).unref();

// The issuer's URL has the port, so the listeners come first and what answers on them after.
const [issuer, resource, control] = await Promise.all([listen(), listen(), listen()]);
const keys = await registerKeys(settings.clients ?? []);
const { provider, tokens, introspection } = createProvider(issuer.url, settings);
const tokenEndpoint = new TokenEndpoint(provider);
const resourceServer = new ResourceServer(introspection, settings.refusal);

issuer.answer((request, response) => tokenEndpoint.handle(request, response));
resource.answer((request, response) => resourceServer.handle(request, response));
const controls = new Control({ tokenEndpoint, resourceServer, tokens });
control.answer((request, response) => controls.handle(request, response));

const ready = { issuer: issuer.url, resource: resource.url, control: control.url, keys };
process.stdout.write(`${JSON.stringify(ready)}\n`);

async function listen() {
  const server = http.createServer();
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${server.address().port}`;
  const answer = (handle) => server.on('request', (request, response) => {
    Promise.resolve(handle(request, response)).catch((error) => {
      process.stderr.write(`${request.method} ${request.url}: ${error.stack}\n`);
      response.destroy();
    });
  });
  return { url, answer };
}
