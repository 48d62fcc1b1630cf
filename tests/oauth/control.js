// What a test may ask of the servers, and tell them.

import { readBody, sendJson } from './body.js';

export class Control {
  #servers;

  constructor(servers) {
    this.#servers = servers;
  }

  async handle(request, response) {
    const body = (await readBody(request)).toString();
    const { tokenEndpoint, resourceServer, tokens } = this.#servers;
    switch (`${request.method} ${request.url}`) {
      case 'GET /log': return sendJson(response, 200, tokenEndpoint.log);
      case 'GET /counters': return sendJson(response, 200, {
        endpoints: tokenEndpoint.endpoints,
        grants: byGrant(tokenEndpoint.log),
        resource: resourceServer.requests,
        reuses: tokenEndpoint.reuses,
      });
      case 'POST /mode':
        tokenEndpoint.setMode(JSON.parse(body));
        return sendJson(response, 200, {});
      case 'POST /revoke-access-tokens':
        return sendJson(response, 200, { revoked: await tokens.revokeAccessTokens() });
      case 'POST /revoke-grants':
        return sendJson(response, 200, { revoked: await tokens.revokeGrants() });
      default: return sendJson(response, 404, { error: 'no such control' });
    }
  }
}

// How many requests each grant type has had, and how they ended.
function byGrant(log) {
  const grants = {};
  for (const { grant_type: grant, outcome } of log) {
    grants[grant] ??= { requests: 0 };
    grants[grant].requests += 1;
    grants[grant][outcome] = (grants[grant][outcome] ?? 0) + 1;
  }
  return grants;
}
