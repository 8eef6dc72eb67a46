# npm ci in FOLDER: exactly what the lock file names, checked by its hashes. A failure is one sentence.
execute_process(COMMAND ${NODE} ${NPM} ci --prefer-offline --cache ${CACHE} --loglevel error
    --fetch-retry-mintimeout 1000 --fetch-retry-maxtimeout 5000
  WORKING_DIRECTORY ${FOLDER} RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE said)
if(failed)
  message("${said}")
  message(FATAL_ERROR "the dashboard's packages could not be fetched from npm: no network, or npm "
    "points elsewhere ('npm config list'); mend that and build again")
endif()
